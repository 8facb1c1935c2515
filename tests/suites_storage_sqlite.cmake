# The SQLite store beyond the interface, and the migrations.
agent_test(store_sqlite agent_storage)
