import { defineConfig } from "vitest/config"

// vitest 5 groups failures with this, which Node 20 lacks: without it a failing test would hide its reason.
Map.groupBy ??= (items, keyOf) => {
  const groups = new Map()
  let index = 0
  for (const item of items) {
    const key = keyOf(item, index++)
    groups.set(key, [...(groups.get(key) ?? []), item])
  }
  return groups
}

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Two cores: real-socket files beside each other already saturate them.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000
  }
})
