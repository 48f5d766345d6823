"""The contract with Ollama: what export relies on, asked of servers.

Each test is held against the stand-in of this repository as an old, a new and the newest server behave, and against a
real one where there is one:

    OLLAMAKE_CONTRACT_URL=http://127.0.0.1:11434 pytest tests/contract_ollama

or, with an `ollama` binary on PATH, one that the tests start on a free port with a models folder of its own and end.
A server on another machine also needs `--allow-hosts=ITS-ADDRESS`: tests talk to this machine only. They use a model of
200 kB in a namespace of their own and delete it afterwards. Tests that order a failure take the stand-in alone.
"""
