"""Figures of AMD's Instinct GPUs: matrix cores, without sparsity; the package says how to read the tables."""

INSTINCT = """
name                 GB    TB/s   f64    f32   tf32    f16   bf16     f8     f4     i8 | names in PyTorch
source: AMD Instinct MI100 data sheet
mi100                32  1.2288  11.5   46.1      -  184.6   92.3      -      -  184.6 | AMD Instinct MI100

source: AMD Instinct MI210 data sheet
mi210                64  1.6384  45.3   45.3      -    181    181      -      -    181 | AMD Instinct MI210

source: AMD Instinct MI250 data sheet, for both dies
note: PyTorch sees each of its two dies as a device with half of everything: mi250-die.
mi250               128   3.277  90.5   90.5      -  362.1  362.1      -      -  362.1 |

source: AMD Instinct MI250 data sheet, half of the figures for both dies
note: One of two dies. PyTorch may give it the same name as a die of the MI250X.
mi250-die            64  1.6385 45.25  45.25      - 181.05 181.05      -      - 181.05 | AMD Instinct MI250X/MI250
                                                                                       | AMD Instinct MI250X / MI250

source: AMD Instinct MI250X data sheet, for both dies
note: PyTorch sees each of its two dies as a device with half of everything: mi250x-die.
mi250x              128   3.277  95.7   95.7      -    383    383      -      -    383 |

source: AMD Instinct MI250X data sheet, half of the figures for both dies
note: One of two dies. PyTorch may give it the same name as a die of the MI250.
mi250x-die           64  1.6385 47.85  47.85      -  191.5  191.5      -      -  191.5 | AMD Instinct MI250X
                                                                                       | AMD Instinct MI250X/MI250
                                                                                       | AMD Instinct MI250X / MI250

source: AMD Instinct MI300A data sheet
note: The memory is shared with the CPU.
mi300a              128     5.3 122.6  122.6  490.3  980.6  980.6 1961.2      - 1961.2 | AMD Instinct MI300A

source: AMD Instinct MI300X data sheet
mi300x              192     5.3 163.4  163.4  653.7 1307.4 1307.4 2614.9      - 2614.9 | AMD Instinct MI300X
                                                                                       | AMD Instinct MI300X OAM
                                                                                       | AMD Instinct MI300X VF

source: AMD Instinct MI325X data sheet
mi325x              256     6.0 163.4  163.4  653.7 1307.4 1307.4 2614.9      - 2614.9 | AMD Instinct MI325X
                                                                                       | AMD Instinct MI325X VF

# CDNA 4 has no TF32.
source: AMD CDNA 4 architecture white paper, and the data sheets of the MI350X and the MI355X
mi350x              288     8.0  72.1  144.2      - 2306.9 2306.9 4613.7 9227.5 4613.7 | AMD Instinct MI350X
mi355x              288     8.0  78.6  157.3      - 2516.6 2516.6 5033.2 10066.3 5033.2 | AMD Instinct MI355X
"""
