from gz_provider_python.main import run

run()
