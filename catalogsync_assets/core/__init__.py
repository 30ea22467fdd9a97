"""What catalogsync does, as plain functions: no Dagster, no click, no terminal.

One package for each thing a user does: `upload`, `download`, `restore`, `audit`, `offload`,
`adopt`, `export`. Under them: `library` (what is on disk), `backends` (what joins a store and the
catalog), `catalog` (what is known), `stores` (one S3 service), `files` (the local disk) and
`runner` (bounded work). The command line and the Dagster assets call these, and nothing here
calls them back.
"""
