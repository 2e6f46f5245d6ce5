"""What every back end stands on to reach its server: requests over HTTP, answers in lines, what refusals mean."""
