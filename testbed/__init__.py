"""What both tests and benchmarks need: servers and proxies on loopback, a sample database, a process's memory.

It belongs to neither, and imports neither.
"""
