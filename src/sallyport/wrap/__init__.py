"""`sallyport wrap`: the firewall client for programs that know nothing of it.

What the program listens on appears at the gateway. Nothing is injected into it: the kernel
suspends a few of its system calls (seccomp user notification), so static programs and programs in
any language work.
"""
