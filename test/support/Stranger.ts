/** The access policy that ships, as a client from elsewhere meets it: tests connect from loopback, which may do anything. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import * as InternalNetworks from "../../src/policy/InternalNetworks.ts"

/** Every client counts as one from 192.0.2.1 or thereabouts: a policy that does not know the client trusts nobody. */
export const layer = (options?: InternalNetworks.Options): Layer.Layer<AccessPolicy> =>
  Layer.effect(
    AccessPolicy,
    Effect.map(InternalNetworks.make(options), ({ authorize, authorizeAddress }) => ({
      authorize: (request) => authorize({ ...request, client: undefined }),
      authorizeAddress: (request, address) => authorizeAddress({ ...request, client: undefined }, address)
    }))
  )
