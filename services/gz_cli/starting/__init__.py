"""What begins workflows: a document, a batch, a conversation, a template, a schedule."""
