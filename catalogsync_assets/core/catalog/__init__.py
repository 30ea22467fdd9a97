"""What is known: the schema, its migrations, and the state of files, locations and queues.

`database` opens it. No file of the library and no object store is touched from here. Queries that
only one job asks stand beside that job.
"""
