"""Benchmarks that users run on their own machine and data: ``fsagent bench …``.

Each prints ratios against a baseline that is measured beside it, in the same minute.
"""
