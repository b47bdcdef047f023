// An oidc-provider to test against, on loopback:
//
//   node server.mjs PORT STATE-FILE ACCESS-TOKEN-SECONDS
//
// Its own pages for development sign anybody in who posts their forms. It keeps
// its sessions in STATE-FILE when it is told to end, and goes on with them when it
// is started again. What happens to refresh tokens is told on standard output, a
// word a line.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';

// Node 20 has no URL.parse.
URL.parse ??= (url, base) => (URL.canParse(url, base) ? new URL(url, base) : null);

const { default: Provider } = await import('oidc-provider');

const [port, stateFile, accessSeconds] = process.argv.slice(2);

let state = {};
try {
  state = JSON.parse(readFileSync(stateFile, 'utf8'));
} catch (e) {
  if (e.code !== 'ENOENT') throw e;
}

// Everything the provider remembers, in one object: tokens, grants, sessions.
class Adapter {
  constructor(model) { this.model = model; }

  key(id) { return `${this.model}:${id}`; }

  async upsert(id, payload, expiresIn) {
    state[this.key(id)] = { payload, end: expiresIn ? Date.now() + expiresIn * 1000 : Infinity };
  }

  async find(id) {
    const entry = state[this.key(id)];
    return entry && (entry.end ?? Infinity) > Date.now() ? entry.payload : undefined;
  }

  async findBy(member, value) {
    const own = Object.keys(state).filter((key) => key.startsWith(`${this.model}:`));
    const key = own.find((k) => state[k].payload[member] === value);
    return key && this.find(key.slice(this.model.length + 1));
  }

  async findByUid(uid) { return this.findBy('uid', uid); }

  async findByUserCode(code) { return this.findBy('userCode', code); }

  async consume(id) { (await this.find(id)).consumed = Math.floor(Date.now() / 1000); }

  async destroy(id) { delete state[this.key(id)]; }

  async revokeByGrantId(grantId) {
    for (const key of Object.keys(state)) {
      if (state[key].payload.grantId === grantId) delete state[key];
    }
  }
}

const confidential = {
  client_secret: 'a secret of the interop tests',
  application_type: 'native', // any port of a loopback redirect (RFC 8252)
  redirect_uris: ['http://127.0.0.1/callback'],
  grant_types: ['authorization_code', 'refresh_token'],
};
const pub = { ...confidential, client_secret: undefined, token_endpoint_auth_method: 'none' };

const brief = (client, short, long) => (client?.clientId === 'brief' ? short : long);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  adapter: Adapter,
  clients: [
    { ...confidential, client_id: 'web' },
    { ...confidential, client_id: 'brief' }, // its refresh tokens end before its access tokens
    { ...pub, client_id: 'proven', dpop_bound_access_tokens: true },
    {
      ...pub,
      client_id: 'device',
      redirect_uris: [],
      response_types: [],
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
    },
  ],
  cookies: { keys: ['for tests only'] },
  features: {
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    dPoP: { enabled: true, requireNonce: () => true, nonceSecret: Buffer.alloc(32, 'for tests only') },
  },
  rotateRefreshToken: true,
  ttl: { // whole seconds
    AccessToken: (ctx, token, client) => brief(client, 8, Number(accessSeconds)),
    RefreshToken: (ctx, token, client) => brief(client, 3, 3600),
    Grant: 3600,
    IdToken: 3600,
    Interaction: 600,
    Session: 3600,
  },
});

provider.on('grant.success', (ctx) => {
  if (ctx.oidc.params.grant_type === 'refresh_token') console.log('renewed');
});
provider.on('grant.error', (ctx, e) => {
  if (e.error_detail === 'refresh token already used') console.log('spent-twice');
});
provider.on('server_error', (ctx, e) => console.error(e));

const server = provider.listen(Number(port), '127.0.0.1', () => console.log('listening'));

process.on('SIGTERM', () => {
  server.close(() => {
    // An unlimited entry is null in JSON.
    writeFileSync(`${stateFile}.tmp`, JSON.stringify(state), { mode: 0o600 });
    renameSync(`${stateFile}.tmp`, stateFile);
    process.exit(0);
  });
  server.closeIdleConnections();
});
