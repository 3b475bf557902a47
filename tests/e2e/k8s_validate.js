// Holds Kubernetes objects against the API's own schemas, which the package kubernetes-models
// carries as validators: a JSON array of objects on stdin, a JSON array of complaints on stdout.
'use strict';

const fs = require('fs');
const path = require('path');

const SCHEMAS = path.join(__dirname, '..', 'node_modules', 'kubernetes-models', '_schemas');

// "apps/v1" and "Deployment" -> IoK8sApiAppsV1Deployment; the group without a name is "core".
function validator({apiVersion, kind}) {
    const parts = apiVersion.split('/');
    const [group, version] = parts.length === 1 ? ['core', parts[0]] : parts;
    const name = [group.split('.')[0], version, kind]
        .map(part => part[0].toUpperCase() + part.slice(1)).join('');
    return require(path.join(SCHEMAS, `IoK8sApi${name}.js`)).validate;
}

// The API's schemas allow any further key, and the API server drops it in silence. A validator
// reads every key that its schema knows, so one that was never read is one that Kubernetes doesn't
// know.
function watched(value, read, at = '') {
    if (value === null || typeof value !== 'object')
        return value;
    return new Proxy(value, {
        get(target, key) {
            if (typeof key === 'string' && Object.hasOwn(target, key)) {
                read.add(`${at}/${key}`);
                return watched(target[key], read, `${at}/${key}`);
            }
            return Reflect.get(target, key);
        },
    });
}

function keys(value, at = '') {
    if (value === null || typeof value !== 'object')
        return [];
    return Object.keys(value).flatMap(key => [`${at}/${key}`, ...keys(value[key], `${at}/${key}`)]);
}

function complaints(object) {
    const name = `${object.kind} ${object.metadata.name}`;
    const validate = validator(object);
    const read = new Set();
    if (!validate(watched(object, read)))
        return validate.errors.map(({instancePath, keyword, params}) =>
            `${name}: ${instancePath} breaks ${keyword} ${JSON.stringify(params)}`);
    return keys(object).filter(key => !read.has(key)).map(key => `${name}: ${key} is unknown`);
}

const objects = JSON.parse(fs.readFileSync(0, 'utf8'));
process.stdout.write(JSON.stringify(objects.flatMap(complaints)) + '\n');
