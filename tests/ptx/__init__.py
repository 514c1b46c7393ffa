"""Runs on the CPU the PTX that Triton emits: PTX text -> C, a function of one thread -> a library.

What the compiled code computes, where it branches and what it reads and writes is executed as it
stands, and every access must fall into a buffer that was passed. Threads run one after another, so
a kernel whose threads talk to each other (barriers, shuffles, shared memory) is refused, as is any
instruction that is not known. What ptxas makes of the PTX, races and speed are not covered.
"""
