target_link_libraries(agent_tool PUBLIC m) # calc

agent_test(calc agent_tool)
agent_test(schema agent_tool)
agent_test(command agent_tool)
agent_test(pool agent_tool)
