agent_test(engine agent_engine)
agent_test(gate agent_engine)
