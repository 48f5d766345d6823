"""The contract with Ollama: what export relies on, asked of a server.

By default that server is the stand-in of this repository. The same tests run against a real one:

    OLLAMAKE_CONTRACT_URL=http://127.0.0.1:11434 pytest tests/contract_ollama

A server on another machine also needs `--allow-hosts=ITS-ADDRESS`: tests talk to this machine only. They use a model of
200 kB in a namespace of their own and delete it afterwards. Cases that order a failure are skipped there.
"""
