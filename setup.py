"""Packaging: the Triton kernels live in kernels/ and are installed as fdsl_gpu.kernels."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["fdsl_gpu", "fdsl_gpu.*"]), "fdsl_gpu.kernels"],
    # "kernels" as a top-level import name would collide with Hugging Face's package of that name
    package_dir={"fdsl_gpu": "fdsl_gpu", "fdsl_gpu.kernels": "kernels"},
    package_data={"fdsl_gpu": ["py.typed", "data/*.safetensors", "recipes/*.toml"]},
)
