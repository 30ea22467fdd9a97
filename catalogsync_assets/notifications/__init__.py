"""Telling someone: alerts, and the ways in which they reach a person.

When there is something to tell is not decided here; see `automation.alerts`. Nothing here knows
Dagster.
"""
