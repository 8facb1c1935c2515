# Measuring: heap accounts, readings of RSS, the memory limit.
agent_test(account agent_engine)
add_executable(touch_tree touch_tree.c) # without sanitizers: its size is what is looked at
agent_test(sampler agent_engine)
agent_test(samples agent_engine)
