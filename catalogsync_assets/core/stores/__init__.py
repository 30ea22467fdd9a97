"""One S3 service: its settings, its client, its errors, and what an answer of it proves.

Knows no catalog, and nobody else speaks to a store's libraries. `client` reads and puts objects,
`parts` large ones; `verify` answers whether an object holds a content, and by what proof; `place`
puts a content under a key by that answer, `fetch` brings one here; `probe` finds out what a store
does.
"""
