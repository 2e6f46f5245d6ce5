from gz_mcp_builtin.main import run

run()
