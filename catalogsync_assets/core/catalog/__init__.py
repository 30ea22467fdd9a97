"""What is known: the schema, its migrations, and every query, by subject.

`database` opens it; `backends`, `library`, `uploads`, `presence` and `status` read and write it.
No file of the library and no object store is touched from here.
"""
