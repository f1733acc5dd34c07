// Normalizes a request for an image at the edge of a CDN, before the cache lookup. It needs no data.
// The rules for the query string are those of packshot/variants/request.py, which is the reference. tests/edge runs
// both with the same vectors. ES5.1 with const, let, arrows and templates, for CloudFront Functions and njs.

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
const HOST = /^([a-z0-9._-]*|\[[0-9a-f:.]*\])(:[0-9]*)?$/;
const STABLE = /^\/api\/v2\/img(?:\/([a-z0-9][a-z0-9-]{0,62}))?\/([0-9a-f]{24})(-[A-Za-z0-9._~!$&'()*+,;=:@-]*)?(\/picture\.json)?$/;
const IMMUTABLE = /^\/i\/([a-z0-9][a-z0-9-]{0,62})\/[0-9a-f]{24}\/[a-z0-9][a-z0-9-]{0,62}\/[0-9a-f]{24}\/w[a-z0-9.-]+\.[a-z]+$/;
// Credentials and options of one client. A response to a request with one of them is never shared.
const PERSONAL = ['access-key', 'expires', 'signature', 'explain'];

function decoded(text) {
    if (text.indexOf('%') < 0) {
        return text;
    }
    try {
        return decodeURIComponent(text);
    } catch (error) {
        return null;
    }
}

// Lowers ASCII letters only, because runtimes differ about other letters.
function lower(text) {
    return /[A-Z]/.test(text) ? text.replace(/[A-Z]+/g, letters => letters.toLowerCase()) : text;
}

function escaped(value) {
    return encodeURIComponent(value).replace(/[!'()*]/g, one => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
}

function whole(least, most) {
    return value => {
        const fits = /^[0-9]{1,9}$/.test(value) && Number(value) >= least && Number(value) <= most;
        return fits ? String(Number(value)) : null;
    };
}

// Rounds the text half up to nine decimals before it checks the range, because njs misreads very long numbers.
function decimal(least, most) {
    return value => {
        const parts = value.length <= 1100 ? /^0*([0-9]{1,9})(?:\.([0-9]+))?$/.exec(value) : null;
        if (!parts || Number(parts[1]) > most) {
            return null;
        }
        const digits = `${parts[2] || ''}0000000000`;
        const billionths = Number(parts[1] + digits.slice(0, 9)) + (digits.charAt(9) < '5' ? 0 : 1);
        if (billionths < least * 1e9 || billionths > most * 1e9) {
            return null;
        }
        const fraction = String(1e9 + billionths % 1e9).slice(1).replace(/0+$/, '');
        return String(Math.floor(billionths / 1e9)) + (fraction && `.${fraction}`);
    };
}

function folded(word) {
    return lower(word).replace(/[-_]/g, '');
}

function choice(spellings) {
    const words = spellings.map(folded);
    return value => {
        const place = words.indexOf(folded(value));
        return place < 0 ? null : spellings[place];
    };
}

function flag(value) {
    return /^(true|false)$/.test(lower(value)) ? lower(value) : null;
}

function colour(value) {
    return /^[0-9A-Fa-f]{6}([0-9A-Fa-f]{2})?$/.test(value) ? lower(value) : null;
}

const byName = choice(['auto', 'avif', 'webp', 'jpeg', 'png']);

function format(value) {
    return folded(value) === 'jpg' ? 'jpeg' : byName(value);
}

function quality(value) {
    return lower(value) === 'auto' ? 'auto' : whole(0, 100)(value);
}

// The order is that of the canonical query string.
const PARAMETERS = [
    ['location', escaped],
    ['width', whole(1, 999999999)],
    ['height', whole(1, 999999999)],
    ['resize-mode', choice(['crop', 'includeAll', 'clip', 'cover', 'canvas', 'stretch'])],
    ['resize-gravity', choice(['center', 'north', 'northeast', 'east', 'southeast', 'south', 'southwest', 'west',
        'northwest', 'focus', 'smart'])],
    ['skip-crop', flag],
    ['location-ratio', flag],
    ['rounded-corners', whole(0, 999999999)],
    ['format', format],
    ['quality', quality],
    ['blur', decimal(0, 250)],
    ['dpr', decimal(0.5, 4)],
    ['background', colour]
];

// Return which of AVIF and WebP a header names; wildcards count for neither. Only the start of a long header counts.
function accepted(header) {
    const counts = header.length <= 4096 ? header : header.slice(0, Math.max(0, header.lastIndexOf(',', 4095)));
    const named = lower(counts).split(',').filter(item => /image\/(avif|webp)/.test(item));
    const found = named.map(item => {
        const parts = item.split(';').map(trimmed);
        return parts.slice(1).some(isRefusal) ? '' : parts[0];
    });
    return ['image/avif', 'image/webp'].filter(type => found.indexOf(type) >= 0).join(',');
}

// Whether a parameter of a media type is q=0.
function isRefusal(parameter) {
    const end = parameter.indexOf('=');
    if (end < 0 || trimmed(parameter.slice(0, end)) !== 'q') {
        return false;
    }
    const weight = trimmed(parameter.slice(end + 1));
    return weight !== '' && /^0*\.?0*$/.test(weight);
}

function trimmed(text) {
    return text.replace(/^[ \t]+/, '').replace(/[ \t]+$/, '');
}

const NAMES = PARAMETERS.map(parameter => parameter[0]);
const FORMAT = NAMES.indexOf('format');

// Return the canonical query string and its format; null: a parameter is invalid.
function requestForm(query) {
    const given = [];
    const refused = query.split('&').some(pair => {
        const end = pair.indexOf('=');
        const name = decoded(end < 0 ? pair : pair.slice(0, end));
        const value = decoded(end < 0 ? '' : pair.slice(end + 1));
        if (name === null || value === null) {
            return true;
        }
        const place = NAMES.indexOf(lower(name));
        if (place >= 0 && given[place] === undefined) {
            given[place] = value;
        }
        return false;
    });
    // A parameter that was not given is a hole in the array. `map` and `some` skip holes, `filter` removes them.
    const spelled = given.map((value, place) => PARAMETERS[place][1](value));
    if (refused || spelled.some(value => value === null)) {
        return null;
    }
    const pairs = spelled.map((value, place) => `${NAMES[place]}=${value}`).filter(() => true);
    return {query: pairs.join('&'), format: spelled[FORMAT]};
}

// Return the tenant that a host names; '': it names none; null: the name or the host is invalid.
function tenantOf(host, domain) {
    const parts = HOST.exec(lower(host));
    if (!parts) {
        return null;
    }
    const suffix = `.${domain}`;
    // A host with a final dot is the same host.
    const name = parts[1].replace(/\.$/, '');
    const start = name.length - suffix.length;
    if (domain === '' || start < 0 || name.indexOf(suffix, start) !== start) {
        return '';
    }
    const tenant = name.slice(0, start);
    return NAME.test(tenant) ? tenant : null;
}

function isPersonal(query) {
    if (!/access-key|expires|signature|explain|%/i.test(query)) {
        return false;
    }
    return query.split('&').some(pair => {
        const name = decoded(pair.split('=')[0]);
        return name !== null && PERSONAL.indexOf(lower(name)) >= 0;
    });
}

// Return the normalized request. A cache keeps one copy for each URL and `accept`.
//   request: host, path and query as in the URL; accept: the header, its lines joined by commas;
//     keyed: whether the request has the header of an access key
//   settings: domain: the parent of the tenants' hosts, or ''; tenant: the default tenant
// The result:
//   cache: false: forward the request unchanged and store no response; the application refuses invalid requests
//   path: for a stable URL it contains the tenant, and no cache buster
//   accept: the accepted ones of image/avif and image/webp; '' if they make no difference
function route(request, settings) {
    const asItCame = {cache: false, path: request.path, query: request.query, accept: request.accept};
    const named = tenantOf(request.host, settings.domain);
    if (named === null || request.keyed || !/^[!-"$-~]*$/.test(request.query) || isPersonal(request.query)) {
        return asItCame;
    }
    const immutable = IMMUTABLE.exec(request.path);
    const stable = immutable || STABLE.exec(request.path);
    const inPath = stable ? stable[1] : '';
    if (!stable || (named && inPath && named !== inPath)) {
        return asItCame;
    }
    if (immutable) {
        return {cache: true, path: request.path, query: '', accept: ''};
    }
    const path = `/api/v2/img/${named || inPath || settings.tenant}/${stable[2]}${stable[4] || ''}`;
    if (stable[4]) {
        return {cache: true, path: path, query: request.query, accept: ''};
    }
    const form = requestForm(request.query);
    if (form === null) {
        return asItCame;
    }
    // Without a format the tenant's policy decides, and it may negotiate the format.
    const negotiable = form.format === undefined || form.format === 'auto';
    return {cache: true, path: path, query: form.query, accept: negotiable ? accepted(request.accept) : ''};
}
