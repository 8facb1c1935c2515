target_link_libraries(agent_tool PUBLIC m) # calc

agent_test(calc agent_tool)
agent_test(schema agent_tool)
agent_test(command agent_tool)
agent_test(pool agent_tool)

if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/fuzz.cmake)
    include(${CMAKE_CURRENT_SOURCE_DIR}/fuzz/fuzz.cmake)
    agent_fuzz(calc calc agent_tool)
    agent_fuzz(schema schema/fuzz agent_tool)
endif()
