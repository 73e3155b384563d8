"""Where opflops works inside other programs. Importing one of these imports no PyTorch."""
