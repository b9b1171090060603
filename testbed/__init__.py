"""What tests and benchmarks both need: servers and proxies on loopback, a sample database, a process's memory.

Neither owns it: it imports none of the two.
"""
