"""Figures of Intel's Gaudi, Google's TPUs and Apple's chips; the package says how to read the tables."""

GAUDI = """
name                 GB    TB/s   f64    f32   tf32    f16   bf16     f8     f4     i8 | names in PyTorch
source: Intel Gaudi 3 AI accelerator white paper
gaudi-2              96    2.45     -      -      -      -    432    865      -      - | GAUDI2
gaudi-3             128     3.7     -      -      -      -   1835   1835      -      - | GAUDI3
"""

TPU = """
name                 GB    TB/s   f64    f32   tf32    f16   bf16     f8     f4     i8 | names in PyTorch
# Names are those of JAX's device_kind, and of the environment of a TPU VM. Memory is as documented, partly in GiB.
source: Google Cloud TPU documentation, system architecture (v4)
tpu-v4               32   1.200     -      -      -      -    275      -      -    275 | TPU v4

source: Google Cloud TPU documentation, TPU v5e
tpu-v5e              16   0.819     -      -      -      -    197      -      -    393 | TPU v5 lite
                                                                                       | v5litepod

source: Google Cloud TPU documentation, TPU v5p and TPU7x
tpu-v5p              95   2.765     -      -      -      -    459    459      -    918 | TPU v5

source: Google Cloud TPU documentation, TPU v6e (Trillium) and TPU7x
tpu-v6e              32   1.638     -      -      -      -    918    918      -   1836 | TPU v6 lite
                                                                                       | TPU Trillium

source: Google Cloud TPU documentation, TPU7x (Ironwood)
note: Of a whole chip, which programs see as two devices with half of everything.
tpu-v7              192   7.380     -      -      -      -   2307   4614      -      - | TPU7x
                                                                                       | TPU Ironwood
"""

APPLE = """
name                 GB    TB/s   f64    f32   tf32    f16   bf16     f8     f4     i8 | names in PyTorch
# Apple states the bandwidth of the memory, which CPU and GPU share, and sells each chip with several sizes of it.
source: Apple newsroom, 10 November 2020 (2.6 teraflops); LPDDR4X-4266 memory, 128 bits wide
note: Apple states no precision for its teraflops, which are float32 here.
m1                    -  0.0683     -    2.6      -      -      -      -      -      - | Apple M1

source: Apple newsroom and technical specifications of the Mac
note: Apple states no peak for arithmetic.
m1-pro                -   0.200     -      -      -      -      -      -      -      - | Apple M1 Pro
m1-max                -   0.400     -      -      -      -      -      -      -      - | Apple M1 Max
m1-ultra              -   0.800     -      -      -      -      -      -      -      - | Apple M1 Ultra
m2                    -   0.100     -      -      -      -      -      -      -      - | Apple M2
m2-pro                -   0.200     -      -      -      -      -      -      -      - | Apple M2 Pro
m2-max                -   0.400     -      -      -      -      -      -      -      - | Apple M2 Max
m2-ultra              -   0.800     -      -      -      -      -      -      -      - | Apple M2 Ultra
m3                    -   0.100     -      -      -      -      -      -      -      - | Apple M3
m3-pro                -   0.150     -      -      -      -      -      -      -      - | Apple M3 Pro
m3-max-30-core        -   0.300     -      -      -      -      -      -      -      - | Apple M3 Max
m3-max-40-core        -   0.400     -      -      -      -      -      -      -      - | Apple M3 Max
m3-ultra              -   0.819     -      -      -      -      -      -      -      - | Apple M3 Ultra
m4                    -   0.120     -      -      -      -      -      -      -      - | Apple M4
m4-pro                -   0.273     -      -      -      -      -      -      -      - | Apple M4 Pro
m4-max-32-core        -   0.410     -      -      -      -      -      -      -      - | Apple M4 Max
m4-max-40-core        -   0.546     -      -      -      -      -      -      -      - | Apple M4 Max
"""
