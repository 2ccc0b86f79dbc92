/** The proxy that the settings describe. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Settings from "../config/Settings.ts"
import { Authenticator } from "../policy/Authenticator.ts"
import * as InternalNetworks from "../policy/InternalNetworks.ts"
import { ConnectionLog } from "../server/ConnectionLog.ts"
import { SocksServer } from "../server/SocksServer.ts"
import { Dialer } from "../transport/Dialer.ts"
import * as DnsResolver from "../transport/DnsResolver.ts"
import * as NodeDatagrams from "../transport/NodeDatagrams.ts"
import * as NodeTransport from "../transport/NodeTransport.ts"
import * as Heap from "./Heap.ts"

/** Whether clients have to log in. */
export const hasUsers = ({ user, users }: Settings.Settings): boolean => user.length > 0 || users !== undefined

const authenticator = (settings: Settings.Settings) =>
  hasUsers(settings)
    // Only those who have users pay for what reads and checks them.
    ? Layer.unwrap(
      Effect.map(Effect.promise(() => import("../policy/Users.ts")), (Users) =>
        Users.layer({
          users: settings.user,
          sessions: settings.egressBy === "session",
          ...settings.users !== undefined && { file: settings.users }
        }))
    )
    : Authenticator.layerOpen

/** Other proxies as the way out. */
const upstreams = ({ connectTimeout, upstream }: Settings.Settings) =>
  Arr.isReadonlyArrayNonEmpty(upstream)
    // Only those who have some pay for the client.
    ? Layer.unwrap(
      Effect.map(Effect.promise(() => import("../client/UpstreamPool.ts")), (UpstreamPool) =>
        UpstreamPool.layer({ chains: [upstream], connectTimeout, answerTimeout: connectTimeout }))
    )
    : Layer.empty

/** Listens while the layer's scope is open. */
export const layer = (settings: Settings.Settings, transport?: NodeTransport.Options) =>
  SocksServer.layer(settings).pipe(
    Layer.provide(upstreams(settings)),
    Layer.provide([
      authenticator(settings),
      InternalNetworks.layer(settings),
      DnsResolver.layer({ servers: settings.dns }),
      Dialer.layer(settings),
      ConnectionLog.layer,
      NodeDatagrams.layer()
    ]),
    Layer.provide(NodeTransport.layer(transport)),
    Layer.provide(Layer.effectDiscard(Heap.tune))
  )
