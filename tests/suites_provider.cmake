# The provider layer: bodies out, answers in, the model that is built in, options.
agent_test(openai agent_provider)
agent_test(openai_plain agent_provider)
agent_test(anthropic agent_provider)
agent_test(offline agent_provider)
agent_test(params agent_provider)

if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/fuzz.cmake)
    include(${CMAKE_CURRENT_SOURCE_DIR}/fuzz/fuzz.cmake)
    agent_fuzz(openai openai agent_provider)
    agent_fuzz(anthropic anthropic agent_provider)
endif()
