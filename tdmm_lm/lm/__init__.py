"""The language model: vocabulary, tasks, data, extension, generation, export. Every file is one step."""
