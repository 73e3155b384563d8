"""Figures of NVIDIA's GPUs; the package says how to read the tables.

Peaks are of tensor cores where a dtype has them. Those in float16 and in 8 bits accumulate in float32: GeForce cards do
that at half the rate of accumulating in float16, with which they are advertised. A figure that a document states only
with sparsity is halved, and the source says so.
"""

DATA_CENTER = """
name                 GB    TB/s   f64    f32   tf32    f16   bf16     f8     f4     i8 | names in PyTorch
# Pascal and Volta have no TF32. P100 multiplies float16 only with float16 accumulators, so that peak is left open.
source: NVIDIA Tesla P100 GPU accelerator datasheet
note: Its 21.2 (SXM2) and 18.7 (PCIe) TFLOP/s in float16 accumulate in float16.
p100-pcie-12gb       12   0.549   4.7    9.3      -      -      -      -      -      - | Tesla P100-PCIE-12GB
p100-pcie-16gb       16   0.732   4.7    9.3      -      -      -      -      -      - | Tesla P100-PCIE-16GB
p100-sxm2            16   0.732   5.3   10.6      -      -      -      -      -      - | Tesla P100-SXM2-16GB

source: NVIDIA V100 datasheet
v100-pcie             -   0.900     7     14      -    112      -      -      -      - |
v100-pcie-16gb       16   0.900     7     14      -    112      -      -      -      - | Tesla V100-PCIE-16GB
v100-pcie-32gb       32   0.900     7     14      -    112      -      -      -      - | Tesla V100-PCIE-32GB
v100-sxm2             -   0.900   7.8   15.7      -    125      -      -      -      - |
v100-sxm2-16gb       16   0.900   7.8   15.7      -    125      -      -      -      - | Tesla V100-SXM2-16GB
v100-sxm2-32gb       32   0.900   7.8   15.7      -    125      -      -      -      - | Tesla V100-SXM2-32GB
v100s-pcie           32   1.134   8.2   16.4      -    130      -      -      -      - | Tesla V100S-PCIE-32GB

source: NVIDIA T4 datasheet
t4                   16   0.320     -    8.1      -     65      -      -      -    130 | Tesla T4

source: NVIDIA A100 Tensor Core GPU datasheet
a100-pcie-40gb       40   1.555  19.5   19.5    156    312    312      -      -    624 | NVIDIA A100-PCIE-40GB
a100-pcie-80gb       80   1.935  19.5   19.5    156    312    312      -      -    624 | NVIDIA A100 80GB PCIe
a100-sxm-40gb        40   1.555  19.5   19.5    156    312    312      -      -    624 | NVIDIA A100-SXM4-40GB
a100-sxm-80gb        80   2.039  19.5   19.5    156    312    312      -      -    624 | NVIDIA A100-SXM4-80GB

source: NVIDIA A800 datasheet, whose figures are those of the A100
a800-pcie-80gb       80   1.935  19.5   19.5    156    312    312      -      -    624 | NVIDIA A800 80GB PCIe
a800-sxm-80gb        80   2.039  19.5   19.5    156    312    312      -      -    624 | NVIDIA A800-SXM4-80GB

source: NVIDIA A30 datasheet
a30                  24   0.933  10.3   10.3     82    165    165      -      -    330 | NVIDIA A30

source: NVIDIA A10 datasheet
a10                  24   0.600     -   31.2   62.5    125    125      -      -    250 | NVIDIA A10

source: NVIDIA A10G datasheet (of Amazon EC2 G5)
a10g                 24   0.600     -     35     35     70     70      -      -    140 | NVIDIA A10G

source: NVIDIA A40 datasheet
a40                  48   0.696     -   37.4   74.8  149.7  149.7      -      -  299.3 | NVIDIA A40

source: NVIDIA A2 datasheet
a2                   16   0.200     -    4.5      9     18     18      -      -     36 | NVIDIA A2

source: NVIDIA A16 datasheet, for one of its four GPUs
note: A board has four of these GPUs, which PyTorch sees as four devices.
a16                  16   0.200     -    4.5      9   17.9   17.9      -      -   35.9 | NVIDIA A16

source: NVIDIA L4 datasheet, without sparsity
l4                   24   0.300     -   30.3     60    121    121  242.5      -  242.5 | NVIDIA L4

source: NVIDIA L2, L20 and H20 product table
l2                   24   0.300     -   24.1   48.3   96.5   96.5    193      -    193 | NVIDIA L2
l20                  48   0.864     -   59.8   59.8  119.5  119.5    239      -    239 | NVIDIA L20
h20                  96     4.0     1     44     74    148    148    296      -    296 | NVIDIA H20

source: NVIDIA L2, L20 and H20 product table; memory as of the H20 with HBM3e
h20-3e              141     4.8     1     44     74    148    148    296      -    296 | NVIDIA H20-3e

source: NVIDIA L40 datasheet
l40                  48   0.864     -   90.5   90.5 181.05 181.05    362      -    362 | NVIDIA L40

source: NVIDIA L40S datasheet, without sparsity
l40s                 48   0.864     -   91.6    183 362.05 362.05    733      -    733 | NVIDIA L40S

source: NVIDIA H100 Tensor Core GPU datasheet, without sparsity
h100-pcie            80     2.0    51     51    378    756    756   1513      -   1513 | NVIDIA H100 PCIe
h100-sxm             80    3.35    67     67  494.7  989.4  989.4 1978.9      - 1978.9 | NVIDIA H100 80GB HBM3
h100-nvl             94     3.9    60     60  417.5  835.5  835.5 1670.5      - 1670.5 | NVIDIA H100 NVL

source: NVIDIA H800 datasheet, tensor figures with sparsity halved
h800-sxm             80    3.35     -     67  494.5  989.5  989.5   1979      -   1979 | NVIDIA H800

source: NVIDIA H200 Tensor Core GPU datasheet, without sparsity
h200-sxm            141     4.8    67     67  494.7  989.4  989.4 1978.9      - 1978.9 | NVIDIA H200
h200-nvl            141     4.8    60     60  417.5  835.5  835.5 1670.5      - 1670.5 | NVIDIA H200 NVL

source: NVIDIA GH200 Grace Hopper Superchip datasheet, tensor figures with sparsity halved
note: The memory is that of the GPU alone. The 480GB in PyTorch's name are the CPU's.
gh200-96gb           96     4.0    67     67  494.5  989.5  989.5   1979      -   1979 | NVIDIA GH200 480GB
gh200-144gb         144     4.9    67     67  494.5  989.5  989.5   1979      -   1979 | NVIDIA GH200 144G HBM3e

# The sums of eight GPUs: 144 (sparse) and 72 PFLOP/s in FP4, 72 (sparse) in FP8, 36 in FP16, 18 in TF32.
source: NVIDIA Blackwell datasheet (HGX B200, an eighth of its sums), figures with sparsity halved
b200                180     7.7    37     75   1125   2250   2250   4500   9000   4500 | NVIDIA B200

source: NVIDIA Blackwell datasheet (GB200, one GPU), figures with sparsity halved
gb200               186     8.0    40     80   1250   2500   2500   5000  10000   5000 | NVIDIA GB200

# FP4 is stated with and without sparsity: 144 and 108 PFLOP/s of eight GPUs, 20 and 15 of one.
source: NVIDIA Blackwell Ultra datasheet (HGX B300, an eighth of its sums), figures with sparsity halved
b300                270     7.7   1.2     75   1125   2250   2250   4500  13500  153.5 | NVIDIA B300 SXM6 AC

source: NVIDIA Blackwell Ultra datasheet (GB300, one GPU), figures with sparsity halved
gb300               279     8.0   1.3     80   1250   2500   2500   5000  15000    165 | NVIDIA GB300
"""

GEFORCE = """
name                 GB    TB/s   f64    f32   tf32    f16   bf16     f8     f4     i8 | names in PyTorch
source: NVIDIA Turing GPU architecture whitepaper (reference card)
rtx-2080-ti          11   0.616     -   13.4      -   53.8      -      -      -  215.2 | NVIDIA GeForce RTX 2080 Ti

source: NVIDIA Ampere GA102 architecture whitepaper
rtx-3090             24   0.936 0.556   35.6   35.6     71     71      -      -    284 | NVIDIA GeForce RTX 3090

source: NVIDIA Ada GPU architecture whitepaper
rtx-4070-ti          12   0.504     -   40.1   40.1   80.2   80.2  160.4      -  320.7 | NVIDIA GeForce RTX 4070 Ti
rtx-4080             16  0.7168     -   48.7   48.7   97.5   97.5  194.9      -  389.9 | NVIDIA GeForce RTX 4080
rtx-4090             24   1.008  1.29   82.6   82.6  165.2  165.2  330.3      -  660.6 | NVIDIA GeForce RTX 4090

source: NVIDIA RTX Blackwell GPU architecture whitepaper
rtx-5070             12   0.672     -   30.9   30.9   61.7   61.7  123.5  493.9  246.9 | NVIDIA GeForce RTX 5070
rtx-5070-ti          16   0.896     -   43.9   43.9   87.9   87.9  175.8    703  351.5 | NVIDIA GeForce RTX 5070 Ti
rtx-5080             16   0.960     -   56.3   56.3  112.6  112.6  225.1  900.4  450.2 | NVIDIA GeForce RTX 5080
rtx-5090             32   1.792     -  104.8  104.8  209.5  209.5    419   1676    838 | NVIDIA GeForce RTX 5090
"""

WORKSTATION = """
name                 GB    TB/s   f64    f32   tf32    f16   bf16     f8     f4     i8 | names in PyTorch
source: NVIDIA Turing GPU architecture whitepaper
quadro-rtx-6000      24   0.672     -   16.3      -  130.5      -      -      -    261 | Quadro RTX 6000

source: NVIDIA Quadro RTX 8000 datasheet
quadro-rtx-8000      48   0.672     -   16.3      -  130.5      -      -      -      - | Quadro RTX 8000

source: NVIDIA RTX A5000 datasheet, tensor figure with sparsity halved
rtx-a5000            24   0.768     -   27.8      -  111.1  111.1      -      -      - | NVIDIA RTX A5000

source: NVIDIA Ampere GA102 architecture whitepaper
rtx-a6000            48   0.768     -   38.7   77.4  154.8  154.8      -      -  309.7 | NVIDIA RTX A6000

source: NVIDIA Ada professional GPU architecture whitepaper
rtx-6000-ada         48   0.960     -   91.1  182.1  364.2  364.2  728.5      -  728.5 | NVIDIA RTX 6000 Ada Generation

source: NVIDIA RTX Blackwell PRO GPU architecture whitepaper
rtx-pro-6000-workstation 96 1.792   -    125  251.9  503.8  503.8 1007.6 2015.2 1007.6 |
                    | NVIDIA RTX PRO 6000 Blackwell Workstation Edition

source: NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition datasheet, FP4 with sparsity halved
rtx-pro-6000-max-q   96   1.792     -    110      -      -      -      - 1755.5      - |
                    | NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition

# The page states 234 TFLOP/s in TF32 without saying whether that is with sparsity.
source: NVIDIA RTX PRO 6000 Blackwell Server Edition product page, tensor figures with sparsity halved
rtx-pro-6000-server  96   1.597     -    120      -    500    500   1000   2000      - |
                    | NVIDIA RTX PRO 6000 Blackwell Server Edition

source: NVIDIA DGX Spark datasheet, FP4 with sparsity halved
note: The memory is shared with the CPU.
gb10                128   0.273     -      -      -      -      -      -    500      - | NVIDIA GB10
"""
