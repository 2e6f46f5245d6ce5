"""JSON-RPC 2.0 without a network.

    messages    what travels, as small structs
    codes       exceptions to error objects and back
    codec       bytes to messages and back (jsonrpcclient is wrapped here)
    inspection  a large frame, looked through before it is decoded
    arrays      several messages in one frame
    request     what a method's function sees: params, the answer, the wish to cancel
    peer        one end of a conversation: requests, answers, batches, limits
    methods     from a request to the function that answers it (jsonrpcserver is wrapped here)

Import from the modules: who only asks does not need `methods`.
"""
