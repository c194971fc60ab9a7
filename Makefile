# Verbs only; what they do is in scripts/.
.PHONY: check test demo clean

check:
	@scripts/check

test:
	@scripts/test

demo:
	@scripts/demo

clean:
	rm -rf .venv .cache .*_cache .hypothesis build dist
