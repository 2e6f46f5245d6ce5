from gz_provider_mcp.main import run

run()
