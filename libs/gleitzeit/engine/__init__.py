"""The decisions, without clock and network: `inputs` come in, `engine` decides, `effects` go out.

state       what is journaled: workflows, their tasks and schedules as state machines over their streams
graph       what the tasks of one workflow may do next: conditions, items, rounds, repetitions, what runs at the end
scheduling  what spans workflows and is never journaled: the queue, providers, places, permits
decisions   what follows from an input, one subject a file, each a layer upon `core`
"""
