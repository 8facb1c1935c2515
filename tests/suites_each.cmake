# What the batch of the command line (cli/each.sh) stands on.
agent_test(digest agent_engine)
