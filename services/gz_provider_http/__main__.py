from gz_provider_http.main import run

run()
