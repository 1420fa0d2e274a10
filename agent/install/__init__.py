"""Makes a machine ready for the agent, and tells what is not.

`steps.py` is the plan of `agent install`, in order; `system.py` is all that it asks of the operating system;
`units.py` fits the systemd units to this machine; `config.py` is the configuration file it leaves for the owner;
`doctor.py` is `agent doctor`. Start reading at `steps.plan`.
"""
