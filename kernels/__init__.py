"""Triton kernels: how the formulas are drawn on a GPU. They import nothing of fdsl_gpu."""
