"""When what runs, and how much at a time: schedules, sensors, alerts, the executor.

`dagster.yaml` beside this module is the instance for one machine; `catalogsync dev` puts it into
a new DAGSTER_HOME.
"""
