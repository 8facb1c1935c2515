# The SQLite store beyond the interface, and the migrations.
agent_test(store_sqlite agent_storage)
agent_test(sqlite_writer agent_storage)
agent_test(sqlite_rows agent_storage)
agent_test(sqlite_owner agent_storage)
agent_test(migrate agent_storage)
