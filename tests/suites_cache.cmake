agent_test(lruk agent_cache m)
agent_test(policies agent_cache m)
agent_test(front_cache agent_cache)
agent_test(cache_threads agent_cache)
