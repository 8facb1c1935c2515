# Answers used again: the key of a request, their rows, what changes tell, and the engine around them.
agent_test(request_key agent_engine)
agent_test(store_cache agent_storage)
agent_test(sqlite_changes agent_storage)
agent_test(response_cache agent_engine scripted)
