agent_test(engine agent_engine)
