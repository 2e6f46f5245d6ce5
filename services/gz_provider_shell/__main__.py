from gz_provider_shell.main import run

run()
