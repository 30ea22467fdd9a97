"""Bounded work: threads, memory, bandwidth, and who is alive. Knows neither stores nor catalog."""
