/** npm's simple-socks, as its page shows it; the port is the argument. */
import SimpleSocks from "simple-socks"

const port = Number(process.argv[2])
SimpleSocks.createServer().listen(port, "127.0.0.1", () => {
  process.stdout.write(`listening on socks5://127.0.0.1:${port}\n`)
})
