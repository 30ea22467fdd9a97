"""What catalogsync does, as plain functions: no Dagster, no click, no terminal.

`catalog` holds what is known, `library` finds files, `plan` decides what is missing where,
`transfer` carries it out. The command line and the Dagster assets call these and nothing here
calls them back.
"""
