# Verbs only; what they do is in scripts/.
.PHONY: check test demo bench clean

check:
	@scripts/check

test:
	@scripts/test

demo:
	@scripts/demo

bench:
	@scripts/bench

clean:
	rm -rf .venv .cache .*_cache .hypothesis build dist
