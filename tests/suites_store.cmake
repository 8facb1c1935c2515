# The store's interface, run against every implementation of it.
agent_test(store agent_storage)
agent_test(store_runs agent_storage)
agent_test(store_claims agent_storage)
agent_test(store_turns agent_storage)
agent_test(store_queue agent_storage)
agent_test(store_scan agent_storage)
agent_test(store_model agent_storage)
agent_test(ram_map agent_storage)
